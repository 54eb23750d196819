;; One output row of a matrix product over GF(2^8): target = sum of coefficient[i] * source[i].
;; Sources lie strideBytes apart; tables holds 32 bytes per source (gf256.ts, nibbleTables).
;; lengthBytes is a multiple of 32. The sum of a column stays in registers until every source was added.
(module
  (memory (export "memory") 1)
  (func (export "row")
    (param $sources i32) (param $strideBytes i32) (param $sourceCount i32)
    (param $target i32) (param $lengthBytes i32) (param $tables i32)
    (local $end i32) (local $source i32) (local $table i32) (local $tablesEnd i32)
    (local $low v128) (local $high v128) (local $bytes v128) (local $sum0 v128) (local $sum1 v128) (local $mask v128)
    (local.set $mask (i8x16.splat (i32.const 15)))
    (local.set $end (i32.add (local.get $target) (local.get $lengthBytes)))
    (local.set $tablesEnd (i32.add (local.get $tables) (i32.shl (local.get $sourceCount) (i32.const 5))))
    (block $done
      (loop $column
        (br_if $done (i32.ge_u (local.get $target) (local.get $end)))
        (local.set $sum0 (v128.const i64x2 0 0))
        (local.set $sum1 (v128.const i64x2 0 0))
        (local.set $source (local.get $sources))
        (local.set $table (local.get $tables))
        (loop $next
          (local.set $low (v128.load (local.get $table)))
          (local.set $high (v128.load offset=16 (local.get $table)))
          (local.set $bytes (v128.load (local.get $source)))
          (local.set $sum0 (v128.xor (local.get $sum0) (v128.xor
            (i8x16.swizzle (local.get $low) (v128.and (local.get $bytes) (local.get $mask)))
            (i8x16.swizzle (local.get $high) (i8x16.shr_u (local.get $bytes) (i32.const 4))))))
          (local.set $bytes (v128.load offset=16 (local.get $source)))
          (local.set $sum1 (v128.xor (local.get $sum1) (v128.xor
            (i8x16.swizzle (local.get $low) (v128.and (local.get $bytes) (local.get $mask)))
            (i8x16.swizzle (local.get $high) (i8x16.shr_u (local.get $bytes) (i32.const 4))))))
          (local.set $source (i32.add (local.get $source) (local.get $strideBytes)))
          (local.set $table (i32.add (local.get $table) (i32.const 32)))
          (br_if $next (i32.lt_u (local.get $table) (local.get $tablesEnd))))
        (v128.store (local.get $target) (local.get $sum0))
        (v128.store offset=16 (local.get $target) (local.get $sum1))
        (local.set $sources (i32.add (local.get $sources) (i32.const 32)))
        (local.set $target (i32.add (local.get $target) (i32.const 32)))
        (br $column)))))

;; Two output rows of a matrix product over GF(2^8): each target = sum of its coefficient[i] * source[i].
;; Sources lie strideBytes apart; tables holds 64 bytes per source: 32 (gf256.ts, nibbleTables) for each target.
;; lengthBytes is a multiple of 32. The sums of a column stay in registers until every source was added.
;; An index is a nibble, below 16, where relaxed_swizzle is swizzle, one instruction cheaper on x86.
(module
  (memory (export "memory") 1)
  (func (export "rowPair")
    (param $sources i32) (param $strideBytes i32) (param $sourceCount i32)
    (param $first i32) (param $second i32) (param $lengthBytes i32) (param $tables i32)
    (local $end i32) (local $source i32) (local $table i32) (local $tablesEnd i32)
    (local $low0 v128) (local $high0 v128) (local $low1 v128) (local $high1 v128)
    (local $lows v128) (local $highs v128) (local $mask v128)
    (local $first0 v128) (local $first1 v128) (local $second0 v128) (local $second1 v128)
    (local.set $mask (i8x16.splat (i32.const 15)))
    (local.set $end (i32.add (local.get $first) (local.get $lengthBytes)))
    (local.set $tablesEnd (i32.add (local.get $tables) (i32.shl (local.get $sourceCount) (i32.const 6))))
    (block $done
      (loop $column
        (br_if $done (i32.ge_u (local.get $first) (local.get $end)))
        (local.set $first0 (v128.const i64x2 0 0))
        (local.set $first1 (v128.const i64x2 0 0))
        (local.set $second0 (v128.const i64x2 0 0))
        (local.set $second1 (v128.const i64x2 0 0))
        (local.set $source (local.get $sources))
        (local.set $table (local.get $tables))
        (loop $next
          (local.set $low0 (v128.load (local.get $source)))
          (local.set $low1 (v128.load offset=16 (local.get $source)))
          (local.set $high0 (v128.and (i16x8.shr_u (local.get $low0) (i32.const 4)) (local.get $mask)))
          (local.set $high1 (v128.and (i16x8.shr_u (local.get $low1) (i32.const 4)) (local.get $mask)))
          (local.set $low0 (v128.and (local.get $low0) (local.get $mask)))
          (local.set $low1 (v128.and (local.get $low1) (local.get $mask)))
          (local.set $lows (v128.load (local.get $table)))
          (local.set $highs (v128.load offset=16 (local.get $table)))
          (local.set $first0 (v128.xor (local.get $first0) (v128.xor
            (i8x16.relaxed_swizzle (local.get $lows) (local.get $low0))
            (i8x16.relaxed_swizzle (local.get $highs) (local.get $high0)))))
          (local.set $first1 (v128.xor (local.get $first1) (v128.xor
            (i8x16.relaxed_swizzle (local.get $lows) (local.get $low1))
            (i8x16.relaxed_swizzle (local.get $highs) (local.get $high1)))))
          (local.set $lows (v128.load offset=32 (local.get $table)))
          (local.set $highs (v128.load offset=48 (local.get $table)))
          (local.set $second0 (v128.xor (local.get $second0) (v128.xor
            (i8x16.relaxed_swizzle (local.get $lows) (local.get $low0))
            (i8x16.relaxed_swizzle (local.get $highs) (local.get $high0)))))
          (local.set $second1 (v128.xor (local.get $second1) (v128.xor
            (i8x16.relaxed_swizzle (local.get $lows) (local.get $low1))
            (i8x16.relaxed_swizzle (local.get $highs) (local.get $high1)))))
          (local.set $source (i32.add (local.get $source) (local.get $strideBytes)))
          (local.set $table (i32.add (local.get $table) (i32.const 64)))
          (br_if $next (i32.lt_u (local.get $table) (local.get $tablesEnd))))
        (v128.store (local.get $first) (local.get $first0))
        (v128.store offset=16 (local.get $first) (local.get $first1))
        (v128.store (local.get $second) (local.get $second0))
        (v128.store offset=16 (local.get $second) (local.get $second1))
        (local.set $sources (i32.add (local.get $sources) (i32.const 32)))
        (local.set $first (i32.add (local.get $first) (i32.const 32)))
        (local.set $second (i32.add (local.get $second) (i32.const 32)))
        (br $column)))))

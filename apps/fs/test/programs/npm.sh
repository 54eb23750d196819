#!/bin/sh
# npm installs packages from their archives, with its cache on the mount too.
set -eu
mkdir -p left right app cache
export npm_config_cache="$PWD/cache" npm_config_offline=true npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
echo '{"name": "left", "version": "1.0.0", "bin": "left.js"}' > left/package.json
printf '#!/usr/bin/env node\nconsole.log("left")\n' > left/left.js
for i in $(seq 200); do echo "module.exports = $i" > "left/$i.js"; done
echo '{"name": "right", "version": "2.0.0", "main": "index.js"}' > right/package.json
echo 'module.exports = require("left/7.js") + 1' > right/index.js
npm pack --silent ./left ./right > /dev/null
cd app
echo '{"name": "app", "dependencies": {"left": "file:../left-1.0.0.tgz", "right": "file:../right-2.0.0.tgz"}}' > package.json
npm install --silent
test "$(node -p 'require("right")')" = 8
test "$(node_modules/.bin/left)" = left
# From the lock file and the cache.
rm -rf node_modules
npm ci --silent
test "$(node -p 'require("right")')" = 8

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=ghc timeout=120 what=the compiler itself under mtvg
printf 'main :: IO ()\nmain = print (sum [x * x | x <- [1 .. 1000 :: Int], odd x])\n' > M.hs
$RUN ghc -v0 -O1 M.hs -o m; echo $?; ./m; $RUN ghc -v0 -e 'foldr (+) 0 [1 .. 100]'

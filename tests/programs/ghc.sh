# SPDX-License-Identifier: BSD-2-Clause
# program: packages=ghc timeout=120 what=compile a Haskell program with threads and STM, run it with the threaded runtime
cat > M.hs <<'X'
import Control.Concurrent
import Control.Exception
import Control.Monad
import qualified Data.Map.Strict as M
import System.Exit
fib :: Int -> Integer
fib n = if n < 2 then toInteger n else fib (n - 1) + fib (n - 2)
main :: IO ()
main = do
  print (fib 22)
  v <- newMVar (0 :: Int)
  done <- forM [1 .. 8] $ \i -> do { d <- newEmptyMVar; _ <- forkIO (do { forM_ [1 .. 500] (\k -> modifyMVar_ v (return . (+ k * i))); putMVar d () }); return d }
  mapM_ takeMVar done
  readMVar v >>= print
  let m = foldr (\i -> M.insertWith (+) (i * 7919 `mod` 1009) i) M.empty [1 .. 20000 :: Int]
  print (M.size m, M.foldl' (+) 0 m)
  r <- try (evaluate (1 `div` (0 :: Int))) :: IO (Either ArithException Int)
  print r
  threadDelay 10000
  print (product [1 .. 100 :: Integer] `mod` 1000000007)
  exitWith (ExitFailure 5)
X
ghc -v0 -O1 -threaded -rtsopts M.hs -o m || exit 1
$RUN ./m +RTS -N2; echo "status $?"; $RUN ./m +RTS -N4 -A256k; echo "status $?"

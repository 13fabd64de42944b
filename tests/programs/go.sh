# SPDX-License-Identifier: BSD-2-Clause
# program: packages=golang-go timeout=120 what=compile, then goroutines, channels, preemption, panics by signal, timers, collector, network
export GOCACHE=$PWD/cache GO111MODULE=off GOFLAGS=-p=2
cat > m.go <<'X'
package main
import ("fmt"; "net"; "os"; "os/exec"; "runtime"; "sort"; "strings"; "sync"; "sync/atomic"; "time"; "io")
func fib(n int) int { if n < 2 { return n }; return fib(n-1) + fib(n-2) }
func try(f func()) { defer func() { fmt.Println("recovered:", recover()) }(); f() }
func deep(n int) int { var a [100]int; a[n%100] = n; if n == 0 { return 0 }; return deep(n-1) + a[n%100]%3 }
func main() {
	fmt.Println(fib(27)); ch := make(chan int); var wg sync.WaitGroup; var n int64
	for i := 0; i < 1000; i++ { wg.Add(1); go func(i int) { defer wg.Done(); atomic.AddInt64(&n, int64(deep(i%50))); ch <- i }(i) }
	s := 0; for i := 0; i < 1000; i++ { s += <-ch }; wg.Wait(); fmt.Println(s, n, deep(20000))
	stop := false; go func() { for { if stop { return } } }(); time.Sleep(20 * time.Millisecond); runtime.GC(); fmt.Println("preempted")
	var p *struct{ x int }; try(func() { fmt.Println(p.x) }); z := 0; try(func() { fmt.Println(1 / z) }); try(func() { var a []int; fmt.Println(a[5]) })
	b, _ := os.ReadFile(os.Getenv("DATA") + "/text"); m := map[string]int{}; for _, w := range strings.Fields(string(b)) { m[w]++ }; k := []string{}; for w := range m { k = append(k, w) }; sort.Strings(k); fmt.Println(len(k), k[0])
	var live [][]byte; for i := 0; i < 20000; i++ { x := make([]byte, 1000+i%100); if i%50 == 0 { live = append(live, x) } }; fmt.Println(len(live))
	l, _ := net.Listen("tcp", "127.0.0.1:0"); go func() { for { c, e := l.Accept(); if e != nil { return }; go func() { io.Copy(c, c); c.Close() }() } }()
	t := 0; for i := 0; i < 50; i++ { c, _ := net.Dial("tcp", l.Addr().String()); fmt.Fprintf(c, "hello %d\n", i); buf := make([]byte, 50); k, _ := c.Read(buf); t += k; c.Close() }; fmt.Println(t); l.Close()
	o, e := exec.Command("sh", "-c", "echo shell; exit 3").Output(); fmt.Print(string(o), e, "\n"); select { case <-time.After(10 * time.Millisecond): fmt.Println("timer") }; mu := sync.Mutex{}; c := 0; for i := 0; i < 8; i++ { wg.Add(1); go func() { for j := 0; j < 5000; j++ { mu.Lock(); c++; mu.Unlock() }; wg.Done() }() }; wg.Wait(); fmt.Println(c); os.Exit(8)
}
X
go build -o m m.go || exit 1
$RUN ./m; echo "status $?"; GOMAXPROCS=1 $RUN ./m | md5sum; GOGC=10 GOMAXPROCS=8 $RUN ./m | md5sum

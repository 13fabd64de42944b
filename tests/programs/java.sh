# SPDX-License-Identifier: BSD-2-Clause
# program: packages=openjdk-17-jdk-headless timeout=90 what=javac, then a threaded program: executors, streams in parallel, exceptions, collector under load, null checks by signal
cat > T.java <<'X'
import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*; import java.util.stream.*; import java.nio.file.*; import java.security.*;
public class T {
    interface S { double area(); } record C(double r) implements S { public double area() { return r * r * 3; } } record Q(double s) implements S { public double area() { return s * s; } }
    static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    static class Node { Node next; int v; }
    public static void main(String[] a) throws Exception {
        System.out.println(fib(30)); ExecutorService e = Executors.newFixedThreadPool(4); List<Future<Long>> f = new ArrayList<>();
        for (int i = 0; i < 20; i++) { final int k = i; f.add(e.submit(() -> { long s = 0; for (int j = 0; j < 200000; j++) s = s * 31 + (j ^ k); return s; })); }
        long t = 0; for (Future<Long> x : f) t ^= x.get(); System.out.println(t); e.shutdown();
        System.out.println(IntStream.range(0, 1000000).parallel().mapToLong(i -> (long) i * i % 7).sum());
        AtomicLong n = new AtomicLong(); Object lock = new Object(); long[] plain = {0}; Thread[] ts = new Thread[4];
        for (int i = 0; i < 4; i++) { ts[i] = new Thread(() -> { for (int j = 0; j < 20000; j++) { n.incrementAndGet(); synchronized (lock) { plain[0]++; } } }); ts[i].start(); } for (Thread x : ts) x.join(); System.out.println(n + " " + plain[0]);
        int caught = 0; for (int i = 0; i < 20000; i++) { Node x = i % 3 == 0 ? null : new Node(); try { x.v = i; } catch (NullPointerException ex) { caught++; } try { if (10 / (i % 5) > 100) caught--; } catch (ArithmeticException ex) { caught++; } } System.out.println(caught);
        Map<String, Integer> m = new TreeMap<>(); for (String w : Files.readString(Path.of(System.getenv("DATA") + "/text")).split("\\s+")) m.merge(w, 1, Integer::sum); System.out.println(m.size() + " " + m.entrySet().iterator().next());
        Node head = null; long live = 0; for (int i = 0; i < 2000000; i++) { Node x = new Node(); x.v = i; if (i % 100 == 0) { x.next = head; head = x; } } for (Node x = head; x != null; x = x.next) live += x.v; System.gc(); System.out.println(live);
        double area = 0; for (int i = 0; i < 300000; i++) { S s = i % 2 == 0 ? new C(i) : new Q(i); area += s.area(); } System.out.println(area);
        System.out.println(HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest("x".getBytes()))); try { deep(0); } catch (StackOverflowError so) { System.out.println("overflow"); }
        Process p = new ProcessBuilder("sh", "-c", "exit 3").start(); System.out.println(p.waitFor()); ScheduledExecutorService se = Executors.newScheduledThreadPool(1); System.out.println(se.schedule(() -> "later", 50, TimeUnit.MILLISECONDS).get()); se.shutdownNow();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); System.exit(11);
    }
    static int deep(int n) { return deep(n + 1) + 1; }
}
X
$RUN javac T.java; echo $?; $RUN java -Xmx256m T; echo "status $?"
$RUN java -XX:TieredStopAtLevel=1 -Xmx256m -XX:+UseSerialGC -cp . T | md5sum

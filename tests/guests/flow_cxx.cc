/* SPDX-License-Identifier: BSD-2-Clause
 * flow_cxx.cc -- iostream, containers, virtual calls, member pointers, threads, futures, atomics.
 * guest: cflags=-std=c++17 -O2 timeout=30
 * variant: pie
 * variant: static cflags=-static */
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <regex>
#include <shared_mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};
struct Square : Shape {
    double s;
    explicit Square(double v) : s(v)
    {
    }
    double area() const override
    {
        return s * s;
    }
};
struct Circle : virtual Shape {
    double r;
    explicit Circle(double v) : r(v)
    {
    }
    double area() const override
    {
        return 3.14159265358979 * r * r;
    }
    int twice(int x)
    {
        return 2 * x;
    }
};

static long fib(int n)
{
    if (n < 2) {
        return n;
    }
    if (n < 16) {
        return fib(n - 1) + fib(n - 2);
    }
    auto f = std::async(n > 20 ? std::launch::async : std::launch::deferred, fib, n - 1);
    return f.get() + fib(n - 2);
}

int main()
{
    std::vector<std::unique_ptr<Shape>> shapes;
    for (int i = 0; i < 1000; i++) {
        if (i % 3) {
            shapes.push_back(std::make_unique<Square>(i * 0.5));
        } else {
            shapes.push_back(std::make_unique<Circle>(i * 0.25));
        }
    }
    double sum = 0;
    for (int round = 0; round < 20; round++) {
        for (auto &s : shapes) {
            sum += s->area();
        }
    }
    std::cout.precision(17);
    std::cout << sum << std::endl;
    int (Circle::*member)(int) = &Circle::twice;
    Circle circle(1);
    std::cout << (circle.*member)(21) << "\n";

    std::map<std::string, int> words;
    std::istringstream text("the quick brown fox jumps over the lazy dog the end");
    for (std::string w; text >> w;) {
        words[w]++;
    }
    for (auto &[w, n] : words) {
        std::cout << w << '=' << n << ' ';
    }
    std::cout << std::endl;
    std::smatch m;
    std::string line = "key = value42";
    std::cout << std::regex_match(line, m, std::regex("(\\w+) *= *([a-z]+)(\\d+)")) << m[2] << m[3]
              << "\n";

    std::cout << fib(23) << std::endl;
    std::atomic<long> hits{0};
    std::mutex mu;
    std::shared_mutex rw;
    std::condition_variable cv;
    long plain = 0, reads = 0;
    int ready = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 5000; i++) {
                hits.fetch_add(1, std::memory_order_relaxed);
                {
                    std::lock_guard<std::mutex> g(mu);
                    plain++;
                }
                if (i % 100 == t) {
                    std::unique_lock<std::shared_mutex> g(rw);
                    reads++;
                } else {
                    std::shared_lock<std::shared_mutex> g(rw);
                }
            }
            std::lock_guard<std::mutex> g(mu);
            ready++;
            cv.notify_all();
        });
    }
    {
        std::unique_lock<std::mutex> lock(mu);
        cv.wait(lock, [&] { return ready == 4; });
    }
    for (auto &t : threads) {
        t.join();
    }
    std::cout << hits << ' ' << plain << ' ' << reads << std::endl;
    std::promise<std::string> promise;
    auto future = promise.get_future();
    std::thread([&] { promise.set_value("promised"); }).detach();
    std::cout << future.get() << std::endl;
    std::vector<int> v(100000);
    std::iota(v.begin(), v.end(), 1);
    std::reverse(v.begin(), v.end());
    std::sort(v.begin(), v.end(), [](int a, int b) { return (a ^ 0x55) < (b ^ 0x55); });
    std::cout << v[0] << ' ' << v[99999] << ' ' << std::accumulate(v.begin(), v.end(), 0l) << "\n";
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause
 * flow_exceptions.cc -- C++ exceptions: unwinding through frames, threads, callbacks, rethrow.
 * guest:
 * variant: pie
 * variant: o2 cflags=-O2
 * variant: static cflags=-static
 * variant: nopie cflags=-no-pie */
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static int destroyed;

struct Guard {
    int id;
    explicit Guard(int i) : id(i)
    {
    }
    ~Guard()
    {
        destroyed += id;
    }
};

struct Base {
    virtual ~Base()
    {
    }
    virtual int value() const
    {
        return 1;
    }
};
struct Derived : Base {
    int value() const override
    {
        return 2;
    }
};

static __attribute__((noinline)) int thrower(int n)
{
    Guard g(n);
    if (n == 0) {
        throw std::runtime_error("bottom");
    }
    if (n % 7 == 0) {
        try {
            return thrower(n - 1);
        } catch (const std::runtime_error &) {
            throw;
        }
    }
    return thrower(n - 1) + 1;
}

static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    if (x == 13 || y == 13) {
        throw Derived();
    }
    return x - y;
}

static int run(int rounds)
{
    int caught = 0;
    for (int i = 0; i < rounds; i++) {
        try {
            thrower(i % 40);
        } catch (const std::exception &e) {
            caught += std::string(e.what()) == "bottom";
        }
        try {
            int list[] = {5, 3, 13, 1};
            qsort(list, 4, sizeof list[0], compare);
        } catch (const Base &b) {
            caught += b.value();
        }
        try {
            std::vector<int>().at(3);
        } catch (...) {
            std::exception_ptr p = std::current_exception();
            try {
                std::rethrow_exception(p);
            } catch (std::out_of_range &) {
                caught++;
            }
        }
    }
    return caught;
}

static void noexcept_wall() noexcept
{
    throw 1;
}

int main()
{
    std::printf("%d\n", run(200));
    std::printf("%d\n", destroyed);
    std::vector<int> results(4);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) {
        threads.emplace_back([&results, i] { results[i] = run(100 + i); });
    }
    for (auto &t : threads) {
        t.join();
    }
    for (int r : results) {
        std::printf("%d\n", r);
    }
    std::function<void()> f = [] { throw std::string("from a lambda"); };
    try {
        f();
    } catch (std::string &s) {
        std::puts(s.c_str());
    }
    std::set_terminate([] {
        std::puts("terminate");
        std::fflush(stdout);
        std::_Exit(17);
    });
    noexcept_wall();
    return 0;
}

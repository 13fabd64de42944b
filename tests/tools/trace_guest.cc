// SPDX-License-Identifier: BSD-2-Clause
// trace_guest.cc -- as trace_guest.c: names that C++ makes long, and exceptions.
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace space
{

static int *volatile null_pointer;

template <typename T, int N> struct Box {
    T value;
    __attribute__((noinline)) void store(const T &v)
    {
        *null_pointer = N; // @store
        value = v;
    }
};

__attribute__((noinline)) void apply(std::vector<int> &v, const std::function<void(int)> &f)
{
    for (int x : v) {
        f(x); // @apply
    }
}

__attribute__((noinline)) void thrower(const std::string &s)
{
    throw std::runtime_error(s); // @thrower
}

} // namespace space

int main(int argc, char **argv)
{
    std::string how = argc > 1 ? argv[1] : "";
    std::vector<int> v{1, 2, 3};
    if (how == "template") {
        space::Box<std::vector<int>, 7> box;
        space::apply(v, [&](int) { box.store(v); });
        return static_cast<int>(box.value.size());
    }
    space::thrower(how); // @main_throw
    return 0;
}

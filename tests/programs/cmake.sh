# SPDX-License-Identifier: BSD-2-Clause
# program: packages=cmake,gcc,make timeout=90 what=configure and build a small project, run its tests
mkdir p && cd p && cat > CMakeLists.txt <<'X'
cmake_minimum_required(VERSION 3.10)
project(p C)
include(CheckFunctionExists)
check_function_exists(printf HAVE_PRINTF)
add_library(l STATIC l.c)
add_executable(m m.c)
target_link_libraries(m l)
enable_testing()
add_test(NAME t COMMAND m)
message(STATUS "found ${HAVE_PRINTF}")
X
echo 'int l(int x) { return x * 2; }' > l.c; printf '#include <stdio.h>\nint l(int); int main(void) { printf("%%d\\n", l(21)); return 0; }\n' > m.c
$RUN cmake -S . -B b > log 2>&1; echo $?; grep -E 'found|compiler identification' log
$RUN cmake --build b -j2 > log 2>&1; echo $?; b/m; $RUN ctest --test-dir b 2>&1 | grep 'tests passed'

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=python3,libpython3.11-testsuite timeout=300 what=python's own tests: signal, threading, thread, os, mmap, struct, ctypes, socket, subprocess
# The number of tests run and their names' verdicts must agree; times and addresses are left out.
for t in test_signal test_threading test_thread test_threadsignals test_os test_mmap test_struct test_ctypes test_socket test_fork1 test_wait4 test_faulthandler; do
    only=
    # all of test_socket wants a network; these do with the loopback
    [ $t = test_socket ] && only="-m BasicTCPTest -m BasicUDPTest -m BasicSocketPairTest -m NonBlockingTCPTests -m UnbufferedFileObjectClassTestCase -m BasicTCPTest2 -m TestUnixDomain -m TCPTimeoutTest"
    $RUN /usr/bin/python3 -m test --timeout 200 $t $only > log 2>&1; status=$?
    echo "$t status $status"; grep -E '^(FAIL|ERROR|SKIP)[:E]' log | sort
done
exit 0

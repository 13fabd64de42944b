# SPDX-License-Identifier: BSD-2-Clause
# program: packages=proot,bubblewrap,fakeroot,fakechroot quick=yes what=proot (a tracer), bubblewrap, fakeroot, unshare and chroot around shells, status and files compared
$RUN proot -0 id -u; echo $?
$RUN proot -b "$DATA:/mnt" ls /mnt; echo $?
$RUN proot -r / -w / sh -c 'pwd; echo $((1+2)); (exit 4)'; echo $?
$RUN fakechroot fakeroot sh -c 'id -u; touch a; chown 3:4 a; stat -c %u:%g a'; echo $?
$RUN bwrap --bind / / --proc /proc --dev /dev --unshare-pid sh -c 'echo $$; ls -d /proc/1'; echo $?
$RUN bwrap --bind / / --unshare-all --die-with-parent perl -e 'print "$$\n"; exit 3'; echo $?
$RUN unshare -Ur id -u; echo $?
$RUN unshare -Urpf --mount-proc sh -c 'echo $$; cat /proc/self/comm'; echo $?
$RUN unshare -Urm sh -c 'mkdir r; mount -t tmpfs none r && echo mounted; touch r/x; ls r'; ls r; echo $?
$RUN unshare -Ur chroot / sh -c 'id -u'; echo $?
$RUN setpriv --no-new-privs sh -c 'grep NoNew /proc/self/status'; echo $?

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=busybox-static quick=yes what=a static program that is also a shell: applets, pipes, scripts
b=$(command -v busybox)
$RUN $b sh -c 'for i in 1 2 3; do echo $i; done | busybox tac; echo $((6 * 7)); x=$(busybox expr 4 + 5); echo $x; (exit 4); echo $?; sleep 0.1 & wait; busybox seq 100 | busybox awk "{ s += \$1 } END { print s }"'
$RUN $b gzip -c < "$DATA/text" | $RUN $b zcat | $RUN $b md5sum; $RUN $b sort "$DATA/text" | $RUN $b sha256sum; $RUN $b find "$DATA/tree" -name '*7*' | wc -l; $RUN $b tar -C "$DATA" -cf - tree | $RUN $b tar -tf - | wc -l; $RUN $b vi --nothing > /dev/null 2>&1; echo $?; $RUN $b sed -n '3s/a/X/gp' "$DATA/text"; $RUN $b bc <<< '2^100'; $RUN $b false; echo $?

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=coreutils quick=yes what=sort, sha256sum, cut, tr, join, split, cp, ls, dd, date, od, factor and others
$RUN sort --parallel=4 -S 1M "$DATA/text" | $RUN sha256sum
$RUN sort -u -k2,2 "$DATA/text" | $RUN cksum
$RUN md5sum < "$DATA/noise"; $RUN sha1sum < "$DATA/noise"; $RUN sha512sum < "$DATA/noise"; $RUN b2sum < "$DATA/noise"
$RUN wc "$DATA/text" | $RUN tr -s ' ' | $RUN cut -d' ' -f2-4
$RUN tr a-z A-Z < "$DATA/text" | $RUN head -n 2
$RUN tac "$DATA/text" | $RUN tail -n 1
$RUN split -n 4 "$DATA/noise" part-; $RUN cat part-* | $RUN cmp - "$DATA/noise" && echo same
$RUN cp -a "$DATA/tree" copy; $RUN ls -lR --time-style=+%s copy | $RUN sed 's/^\(.\{10\}\) .* \([0-9]* [0-9]* file\)/\1 \2/' | $RUN md5sum
$RUN du -a --apparent-size copy | $RUN sort -k2 | $RUN head -n 3
$RUN mv copy moved; $RUN rm -r moved; $RUN ls
$RUN dd if=/dev/zero bs=1000 count=1000 2> /dev/null | $RUN base64 -w 76 | $RUN md5sum
$RUN date -u -d @1000000000 +%FT%T; $RUN seq -s, 1 20; $RUN factor 1234567890123456789 18446744073709551557
$RUN expr 6 \* 7; $RUN printf '%x %s\n' 255 text; $RUN echo -e 'a\tb'
$RUN od -A x -t x1z -N 64 "$DATA/noise"
$RUN join <($RUN printf 'a 1\nb 2\n') <($RUN printf 'a x\nb y\n')
$RUN paste <($RUN seq 3) <($RUN seq 4 6); $RUN comm <($RUN seq 5) <($RUN seq 3 8); $RUN shuf -i 1-5 --random-source="$DATA/noise"
$RUN nproc --all > /dev/null; $RUN timeout 0.2 sleep 10; echo "timeout $?"
$RUN env -i A=1 env; $RUN id -u; $RUN false; echo $?; $RUN test -d /tmp; echo $?; $RUN cat /nonexistent; echo $?
$RUN stat -c '%s %F' "$DATA/text"; $RUN readlink -f /usr/bin/../bin/ls; $RUN tee one two < /dev/null; $RUN numfmt --to=iec 123456789
$RUN yes | $RUN head -c 10000000 | $RUN sum

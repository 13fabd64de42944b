# SPDX-License-Identifier: BSD-2-Clause
# program: packages=gzip quick=yes what=compress and decompress at three levels, test, refuse noise
for level in 1 6 9; do
    $RUN gzip -n -$level < "$DATA/text" > z; md5sum < z; $RUN gzip -dc z | cmp - "$DATA/text" && echo same
done
$RUN gzip -n < "$DATA/noise" | $RUN gunzip | md5sum
$RUN gzip -t "$DATA/noise" 2> /dev/null; echo $?; $RUN gzip -l < z | tail -n 1

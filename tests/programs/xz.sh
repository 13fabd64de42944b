# SPDX-License-Identifier: BSD-2-Clause
# program: packages=xz-utils quick=yes what=compress and decompress with two threads
$RUN xz -1 -T2 --block-size=256KiB < "$DATA/text" > z; md5sum < z; $RUN xz -dc -T2 z | cmp - "$DATA/text" && echo same
$RUN xz -6 -T2 < "$DATA/noise" | $RUN xz -d | md5sum
$RUN xz -t z && echo good; $RUN xz --robot -l z; head -c 1000 z | $RUN xz -d 2> /dev/null | md5sum

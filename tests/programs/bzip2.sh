# SPDX-License-Identifier: BSD-2-Clause
# program: packages=bzip2 quick=yes what=compress, decompress, test
$RUN bzip2 -9 < "$DATA/text" > z; md5sum < z; $RUN bzip2 -dc z | cmp - "$DATA/text" && echo same
$RUN bzip2 -t z && echo good; $RUN bzip2 -t "$DATA/noise" 2> /dev/null; echo $?

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=pigz quick=no what=parallel compression and decompression
$RUN pigz -n -p 4 -b 128 < "$DATA/text" > z; md5sum < z; $RUN pigz -dc z | cmp - "$DATA/text" && echo same
$RUN pigz -11 -n -p 4 < "$DATA/tree/d1/file1.txt" | md5sum

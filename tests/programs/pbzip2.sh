# SPDX-License-Identifier: BSD-2-Clause
# program: packages=pbzip2 quick=no what=parallel compression and decompression
$RUN pbzip2 -p4 -b1 < "$DATA/text" > z; md5sum < z; $RUN pbzip2 -dc -p4 z | cmp - "$DATA/text" && echo same

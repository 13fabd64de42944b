# SPDX-License-Identifier: BSD-2-Clause
# program: packages=p7zip-full quick=no what=archives with LZMA2 on several threads, zip, test, extract timeout=120
$RUN 7z a -bd -mmt4 -mx=1 a.7z "$DATA/text" "$DATA/noise" > /dev/null; echo $?
$RUN 7z t -bd a.7z | grep Everything; mkdir out; $RUN 7z x -bd -oout a.7z > /dev/null; cmp out/text "$DATA/text" && cmp out/noise "$DATA/noise" && echo same
$RUN 7z a -bd -tzip a.zip "$DATA/tree" > /dev/null; $RUN 7z l a.zip | grep -c file
$RUN 7z b -mmt2 -md18 1 > /dev/null; echo $?

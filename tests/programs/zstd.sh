# SPDX-License-Identifier: BSD-2-Clause
# program: packages=zstd quick=yes what=compress and decompress with two threads, train a dictionary
for level in 1 3 12; do
    $RUN zstd -q -T2 -$level < "$DATA/text" > z; $RUN zstd -dc z | cmp - "$DATA/text" && echo same
done
$RUN zstd -q -T2 -B100K --long -5 "$DATA/text" -o big.zst; $RUN zstd -t -q big.zst && echo good
$RUN zstd -q --train "$DATA"/tree/*/* -o dict --maxdict=4096 2> /dev/null; $RUN zstd -q -D dict < "$DATA/tree/d0/file0.txt" | $RUN zstd -d -D dict | md5sum

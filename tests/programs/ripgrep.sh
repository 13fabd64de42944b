# SPDX-License-Identifier: BSD-2-Clause
# program: packages=ripgrep what=search a tree with four threads; regular expressions, counts, replacement
cp -r "$DATA/tree" .; $RUN rg -j4 -c 'tr[ao]' tree | sort | md5sum; $RUN rg -j4 --sort path -n 'e{2}t' tree | head -n 5
$RUN rg -o -i 'S[HT]+R' "$DATA/text" | sort | uniq -c; $RUN rg -q nothing-like-this tree; echo $?; $RUN rg '(' tree 2> /dev/null; echo $?; $RUN rg --files tree -g '*1*' | sort | head -n 3; $RUN rg -r X -N 'ta+' "$DATA/tree/d0/file0.txt" | md5sum

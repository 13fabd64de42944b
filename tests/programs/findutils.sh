# SPDX-License-Identifier: BSD-2-Clause
# program: packages=findutils quick=yes what=find with many tests, xargs in parallel
$RUN find "$DATA/tree" -type f -name '*3*' -newermt 2001-09-09 -printf '%P %s %T@\n' | sort
$RUN find "$DATA/tree" -type f -size +1k -exec md5sum {} + | cut -c1-32 | sort | md5sum
$RUN find "$DATA/tree" -type f -print0 | $RUN xargs -0 -n 5 -P 4 sh -c 'cat "$@" | wc -l' x | sort | uniq -c
$RUN find "$DATA/tree" -depth -name 'file1?.txt' -exec echo {} \; | sed "s|$DATA||" | sort
seq 100 | $RUN xargs -n 30; seq 3 | $RUN xargs -I{} sh -c 'exit {}'; echo $?

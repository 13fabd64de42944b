# SPDX-License-Identifier: BSD-2-Clause
# program: packages=tar,gzip quick=yes what=create, list, extract, compare, through gzip, sparse
$RUN tar --sort=name --owner=0 --group=0 -C "$DATA" -cf t.tar tree; md5sum < t.tar
$RUN tar tf t.tar | wc -l
mkdir out; $RUN tar -C out -xf t.tar; diff -r out/tree "$DATA/tree" && echo same
$RUN tar -C "$DATA" -df t.tar && echo no differences
$RUN tar -C "$DATA" --sort=name -czf t.tgz tree text; $RUN tar tzf t.tgz | tail -n 2; $RUN tar -xzOf t.tgz text | md5sum
truncate -s 10M sparse; $RUN tar -cSf s.tar sparse; stat -c %s s.tar
$RUN tar xf /nonexistent.tar 2> /dev/null; echo $?

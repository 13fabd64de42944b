# SPDX-License-Identifier: BSD-2-Clause
# program: packages=git quick=yes timeout=60 what=init, commit, branch, merge, rebase, gc, clone of a local repository, fsck, bisect
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE='1000000000 +0000' GIT_COMMITTER_DATE='1000000000 +0000'
$RUN git init -q -b main r; cd r; cp -r "$DATA/tree" .; $RUN git add . && $RUN git commit -q -m first; $RUN git rev-parse HEAD
for i in 1 2 3 4 5; do echo "$i" >> tree/d0/file0.txt; $RUN git commit -q -a -m "change $i"; done
$RUN git checkout -q -b side HEAD~3; echo side > side.txt; $RUN git add side.txt; $RUN git commit -q -m side
$RUN git checkout -q main; $RUN git merge -q -m merged side; $RUN git log --oneline --graph | cat
$RUN git checkout -q side; $RUN git rebase -q main; $RUN git rev-parse HEAD; $RUN git checkout -q main
$RUN git diff --stat HEAD~4 | cat; $RUN git grep -c e HEAD -- tree/d3 | sort | head -n 3; $RUN git blame tree/d0/file0.txt | tail -n 2
$RUN git -c gc.autoDetach=false gc -q; $RUN git fsck --full --strict; $RUN git count-objects -v | grep -v size
cd ..; $RUN git clone -q --no-local r c; cd c; $RUN git log --format=%H | md5sum; $RUN git fsck; $RUN git status --short | wc -l
$RUN git bisect start -q HEAD HEAD~4 > /dev/null; $RUN git bisect run sh -c '! grep -q "^3$" tree/d0/file0.txt' 2>&1 | grep 'first bad'; $RUN git bisect reset > /dev/null 2>&1
$RUN git archive HEAD | md5sum; $RUN git rev-parse nothing 2> /dev/null; echo $?

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=fd-find what=walk a tree with four threads, run commands
cp -r "$DATA/tree" .; $RUN fdfind -j4 '[0-5]\.txt$' tree | sort | md5sum; $RUN fdfind -e txt -S +1k . tree | wc -l; $RUN fdfind -j2 -t f 'file1' tree -x wc -l {} \; | sort; $RUN fdfind -t d . tree -X echo | tr ' ' '\n' | sort

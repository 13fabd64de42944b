# SPDX-License-Identifier: BSD-2-Clause
# program: packages=imagemagick timeout=60 what=draw, resize, blur, convert between formats with OpenMP threads, compare
export OMP_NUM_THREADS=2
$RUN convert -size 300x200 gradient:red-blue -swirl 90 -resize 150% -blur 0x3 -define png:exclude-chunks=date,time a.png; echo $?; $RUN identify -format '%w %h %#\n' a.png
$RUN convert a.png -rotate 30 -quality 85 b.jpg; $RUN identify -format '%w %h\n' b.jpg; $RUN convert a.png -colorspace Gray -edge 2 -depth 8 gray:- | md5sum; $RUN compare -metric AE a.png a.png null: 2>&1; echo " $?"

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=x264 timeout=90 what=encode raw frames with four threads; the stream must be the same
head -c 691200 "$DATA/noise" > y; cat y "$DATA/text" | head -c 1152000 > v.yuv
for t in 1 4; do $RUN x264 --quiet --threads $t --preset medium --input-res 160x120 --fps 25 -o v$t.264 v.yuv 2> /dev/null; echo $?; md5sum < v$t.264; done
$RUN x264 --quiet --threads 4 --sliced-threads --preset slow --crf 30 --input-res 160x120 --fps 25 -o s.264 v.yuv 2> /dev/null; md5sum < s.264

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=ffmpeg timeout=120 what=generated video and audio through several codecs and filters with four threads; checksums of the frames
f() { $RUN ffmpeg -nostdin -v error -y "$@"; echo "status $?"; }
f -f lavfi -i testsrc2=s=320x180:r=25:d=2 -f lavfi -i sine=440:d=2 -threads 4 -c:v mpeg4 -qscale:v 4 -c:a flac -flags +bitexact -fflags +bitexact v.mkv; md5sum < v.mkv
f -threads 4 -i v.mkv -f framemd5 - | md5sum
f -i v.mkv -vf scale=160:90,hue=h=90,unsharp,gblur=2 -threads 2 -c:v libx264 -preset veryfast -x264-params threads=2 -bitexact o.mp4; f -i o.mp4 -f framemd5 - | md5sum
f -i v.mkv -vn -c:a libmp3lame -b:a 96k a.mp3; f -i a.mp3 -f md5 -; f -i v.mkv -vframes 1 p.png; md5sum < p.png

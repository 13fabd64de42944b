# SPDX-License-Identifier: BSD-2-Clause
# program: packages=x265,svt-av1,aom-tools,dav1d,vpx-tools,webp,libjxl-tools,ffmpeg timeout=120 what=HEVC, AV1, VP8, VP9, WebP and JPEG XL encoded and decoded with threads; dav1d with each set of vector instructions
ffmpeg -v error -f lavfi -i testsrc2=s=320x240:d=0.5:r=24 -pix_fmt yuv420p v.y4m
$RUN x265 --input v.y4m --preset medium --pools 2 -F 2 -o v.hevc 2>/dev/null; echo $?; sha256sum v.hevc
$RUN SvtAv1EncApp -i v.y4m -b v.ivf --preset 10 --lp 2 >/dev/null 2>&1; echo $?; sha256sum v.ivf
$RUN aomenc v.y4m -o w.ivf --ivf --cpu-used=8 --threads=2 --limit=8 2>/dev/null; echo $?; sha256sum w.ivf
$RUN dav1d -i v.ivf -o d.y4m --threads 4 2>/dev/null; echo $?; sha256sum d.y4m
for m in sse2 ssse3 sse41 avx2 avx512icl; do $RUN dav1d -i w.ivf -o d2.y4m --threads 2 --cpumask $m 2>/dev/null; echo $m $?; sha256sum d2.y4m; done
$RUN aomdec w.ivf --md5 --rawvideo --threads=2 2>/dev/null; echo $?
$RUN vpxenc v.y4m -o v.webm --codec=vp9 --cpu-used=8 --threads=2 --row-mt=1 --limit=12 2>/dev/null; echo $?; $RUN vpxdec --md5 --i420 v.webm --threads=2 2>/dev/null
$RUN vpxenc v.y4m -o v8.webm --codec=vp8 --cpu-used=8 --threads=2 --limit=12 2>/dev/null; echo $?; $RUN vpxdec --md5 --i420 v8.webm 2>/dev/null
ffmpeg -v error -i v.y4m -frames:v 1 p.png; for o in "-q 80" "-lossless -m 4" "-mt -m 6 -q 50"; do $RUN cwebp -quiet $o p.png -o p.webp; echo $?; sha256sum p.webp; $RUN dwebp -quiet p.webp -ppm -o q.ppm; sha256sum q.ppm; done
$RUN cjxl p.png p.jxl -e 5 --num_threads=3 >/dev/null 2>&1; echo $?; sha256sum p.jxl; $RUN djxl p.jxl p2.png >/dev/null 2>&1; echo $?; sha256sum p2.png

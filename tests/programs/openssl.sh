# SPDX-License-Identifier: BSD-2-Clause
# program: packages=openssl timeout=240 what=speed of every digest, cipher and public key once; keys, certificates, encryption
for a in md5 sha1 sha256 sha512 sha3-256 blake2b512 aes-128-cbc aes-256-gcm aes-128-ctr chacha20-poly1305 camellia-128-cbc ghash; do
    $RUN openssl speed -seconds 1 -bytes 1024 -evp $a > /dev/null 2>&1; echo "$a $?"
done
for a in rsa2048 ecdsap256 ecdhx25519 ed25519 dsa2048; do $RUN openssl speed -seconds 1 $a > /dev/null 2>&1; echo "$a $?"; done
$RUN openssl speed -seconds 1 -multi 2 -bytes 1024 -evp sha256 > /dev/null 2>&1; echo $?
for d in md5 sha1 sha224 sha256 sha384 sha512 sha3-512 blake2s256 sm3 ripemd160 shake128; do $RUN openssl dgst -$d < "$DATA/text"; done
for c in aes-128-cbc aes-192-ctr aes-256-cfb chacha20 camellia-256-cbc aria-128-ctr des-ede3-cbc sm4-cbc; do
    $RUN openssl enc -$c -K "$(printf '%064d' 7)" -iv "$(printf '%032d' 5)" < "$DATA/text" 2> /dev/null | $RUN openssl dgst -sha256
done
$RUN openssl genrsa -out k 2048 2> /dev/null; $RUN openssl dgst -sha256 -sign k -out sig "$DATA/text"; $RUN openssl rsa -in k -pubout -out pub 2> /dev/null; $RUN openssl dgst -sha256 -verify pub -signature sig "$DATA/text"
$RUN openssl ecparam -name prime256v1 -genkey -noout -out ek; $RUN openssl req -x509 -new -key ek -subj /CN=test -days 1 -out crt 2> /dev/null; $RUN openssl x509 -in crt -noout -subject; $RUN openssl verify -CAfile crt crt
$RUN openssl prime 1000000007; $RUN openssl prime -generate -bits 256 > /dev/null; echo $?

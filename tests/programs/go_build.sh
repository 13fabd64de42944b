# SPDX-License-Identifier: BSD-2-Clause
# program: packages=golang-go timeout=200 what=the go command, compiler and linker under mtvg: build and vet a program
export GOCACHE=$PWD/cache GO111MODULE=off GOFLAGS=-p=2
printf 'package main\nimport "fmt"\nfunc main() { fmt.Println("built") }\n' > m.go
$RUN go build -o m m.go; echo $?; ./m; $RUN go vet m.go; echo $?; $RUN gofmt -l m.go

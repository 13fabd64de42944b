# SPDX-License-Identifier: BSD-2-Clause
"""The python3 workload: calls, dictionaries, strings, classes, sorting. Usage: loop.py ROUNDS"""
import sys


class Account:
    def __init__(self, name):
        self.name, self.balance = name, 0

    def add(self, amount):
        self.balance += amount
        return self.balance


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def one_round(number):
    accounts = {f"a{i}": Account(f"a{i}") for i in range(200)}
    for i in range(8000):
        accounts[f"a{i * 7 % 200}"].add(i ^ number)
    words = " ".join(str(a.balance) for a in accounts.values()).split()
    words.sort(key=lambda w: (len(w), w[::-1]))
    squares = [x * x % 1009 for x in range(5000) if x & 3]
    return fibonacci(15) + sum(squares) + sum(map(int, words)) + len("".join(words[::3]))


total = 0
for r in range(int(sys.argv[1])):
    total = (total * 31 + one_round(r)) % (1 << 61)
print(total)

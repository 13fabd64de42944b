# SPDX-License-Identifier: BSD-2-Clause
# The perl workload: hashes, regular expressions, string building, sorting. Usage: loop.pl ROUNDS
use strict;
use warnings;

my $total = 0;

sub fold {
    my ($sum, $word) = @_;
    return ($sum * 33 + length($word) + ord($word)) % 1000000007;
}

for my $round (1 .. $ARGV[0]) {
    my (%count, @lines);
    for my $i (1 .. 3000) {
        my $key = "key" . ($i * $round % 251);
        $count{$key} += $i;
        push @lines, "$key: value=$i; flags=" . ($i % 3 ? "on" : "off") if $i % 4 == 0;
    }
    for my $line (@lines) {
        if ($line =~ /^(\w+): value=(\d+); flags=(on|off)$/) {
            $count{$1} -= $2 if $3 eq "off";
            (my $swapped = $line) =~ s/(\w+)=(\w+)/$2=$1/g;
            $total = fold($total, $swapped);
        }
    }
    for my $key (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
        $total = fold($total, $key . $count{$key});
    }
}
print "$total\n";

# SPDX-License-Identifier: BSD-2-Clause
# program: packages=perl quick=yes what=hashes, regular expressions, sort, pack, fork, signals, threads, sockets
cat > script <<'X'
use strict; use warnings; use threads; use threads::shared; use Thread::Queue; use Socket; use Digest::MD5 qw(md5_hex); use Time::HiRes qw(ualarm);
my %h; open(my $f, '<', "$ENV{DATA}/text"); while (<$f>) { $h{$_}++ for split; } 
print scalar(keys %h), " words\n"; my @top = sort { $h{$b} <=> $h{$a} || $a cmp $b } keys %h; print "@top[0..4]\n";
my $n = 0; for my $w (sort keys %h) { $n++ if $w =~ /^(?:[aeiou][^aeiou])+$/; } print "$n match\n";
my $text = join ' ', @top; $text =~ s/(\w)(\w+)/\U$1\E$2/g; print md5_hex($text), "\n";
print join(',', unpack('NnC', pack('NnC', 1, 2, 3))), sprintf(" %.10g %s\n", 2**0.5, 10 ** 15);
my $total :shared = 0; my $q = Thread::Queue->new(1 .. 100);
my @t = map { threads->create(sub { while (defined(my $i = $q->dequeue_nb)) { lock($total); $total += $i; } }) } 1 .. 4; $_->join for @t; print "total $total\n";
my $pid = fork; if (!$pid) { exit 7 } waitpid($pid, 0); print $? >> 8, "\n";
my $got = 0; $SIG{ALRM} = sub { $got++ }; ualarm(20000); select(undef, undef, undef, 1); print "alarm $got\n";
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC); syswrite $a, "hello\n"; print scalar <$b>;
print `echo from a shell`; eval { die { code => 5 } }; print $@->{code}, "\n"; local $| = 1; 
sub ack { no warnings 'recursion'; my ($m, $n) = @_; $m ? ack($m - 1, $n ? ack($m, $n - 1) : 1) : $n + 1 } print ack(2, 30), "\n";
kill TERM => $$; 
X
$RUN perl script; echo "status $?"

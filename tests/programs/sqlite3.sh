# SPDX-License-Identifier: BSD-2-Clause
# program: packages=sqlite3 quick=yes what=transactions, indexes, joins, window functions, JSON, full text, integrity check
cat > script <<'X'
pragma journal_mode=wal;
create table t(id integer primary key, a int, b text, c real);
with recursive n(i) as (select 1 union all select i+1 from n where i<20000) insert into t select i, i*7919%1000, printf('%06x', i*2654435761%16777216), i/7.0 from n;
create index ta on t(a); create index tb on t(b, a);
select count(*), sum(a), round(avg(c),6), min(b), max(b) from t;
select a, count(*) k from t group by a order by k desc, a limit 3;
select x.id, y.id from t x join t y on x.a = y.a and x.id < y.id where x.b < '000fff' order by 1, 2 limit 3;
select id, sum(a) over (order by id rows 3 preceding) from t limit 5;
begin; update t set a = a + 1 where id % 3 = 0; rollback; begin; delete from t where id % 5 = 0; commit;
select sum(a), total_changes() from t; select json_extract('{"a":[1,2,{"b":3}]}', '$.a[2].b');
create virtual table f using fts5(x); insert into f select b || ' word' || (id % 17) from t; select count(*) from f where f match 'word5';
pragma integrity_check; select hex(b) from t limit 1; vacuum; select count(*) from t where b like '%ff%';
X
$RUN sqlite3 db < script 2>&1; echo $?; $RUN sqlite3 db .dump | md5sum; $RUN sqlite3 -readonly db 'delete from t' 2>&1; echo $?

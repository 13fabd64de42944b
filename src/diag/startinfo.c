/* SPDX-License-Identifier: BSD-2-Clause
 * startinfo.c -- what -v tells at start. */
#include "diag/startinfo.h"

#include "base/log.h"
#include "base/options.h"

#include <bsd/string.h>
#include <string.h>
#include <sys/utsname.h>

static void tell_words(const char *what, char *const *words, int n)
{
    char line[8192] = "";

    for (int i = 0; i < n && words[i] != NULL; i++) {
        strlcat(line, " ", sizeof(line));
        strlcat(line, words[i], sizeof(line));
    }
    mt_vmsg("%s:%s", what, line);
}

static void tell_source(const char *name, const char *words, int n)
{
    char line[8192] = "";

    for (; n > 0; n--) {
        strlcat(line, " ", sizeof(line));
        strlcat(line, words, sizeof(line));
        words += strlen(words) + 1;
    }
    mt_vmsg("Options in %s:%s", name, line);
}

static void tell_threads(void)
{
    static const char *const fair[] = {"no", "yes", "try"};

    if (mt_opts.parallel) {
        mt_vmsg("Threads: at the same time");
        return;
    }
    mt_vmsg("Threads: one at a time, turns of %lld blocks, --fair-sched=%s%s%s",
            (long long)mt_opts.quantum, fair[mt_opts.fair_sched],
            mt_opts.sched_seed != NULL ? ", --sched-seed=" : "",
            mt_opts.sched_seed != NULL ? mt_opts.sched_seed : "");
}

void startinfo_tell(const ExecTarget *program, char *const *own_argv, const char *tool,
                    u64 cache_size)
{
    struct utsname system;

    if (mt_opts.verbosity < 2 || uname(&system) != 0) {
        return;
    }
    mt_vmsg("mtvg-%s, tool %s, on %s %s %s", MT_VERSION, tool, system.sysname, system.release,
            system.machine);
    tell_words("Command", program->argv, 1 << 20);
    mt_vmsg("Program: %s", program->real_path);
    options_each_source(tell_source);
    tell_words("Options", own_argv + 1, mt_opts.argc_own - 1);
    tell_threads();
    mt_vmsg("Code cache: %llu KB", (unsigned long long)cache_size / 1024);
}

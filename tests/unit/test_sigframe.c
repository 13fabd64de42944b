/* SPDX-License-Identifier: BSD-2-Clause
 * test_sigframe.c -- signal frames against the real kernel's: the same bytes for the same moment;
 * the kernel returns through ours; we return through its; damaged frames are refused when it
 * refuses. */
/* layers: mt_base mt_guest mt_sys */
#include "sys/sigframe.h"

#include "base/safe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ALT_SIZE 65536u
#define FILL 0xaa
#define LEGACY_STALE_FROM 416 /* docs/SIGNALS.md: bytes that may differ */
#define LEGACY_STALE_TO 464
#define SA_RESTORER_FLAG 0x04000000ul
#define EFLAGS_STATUS 0x8d5u

static u8 *alt_mem;
static u8 kernel_image[ALT_SIZE]; /* the alternate stack as the kernel left it for the handler */
static u64 kernel_frame;          /* address of its frame in alt_mem */
static siginfo_t kernel_info;
static sigjmp_buf back;

/* ---- a moment: registers with known values, then ud2 ---- */

static u64 wanted[16]; /* hardware numbering; rsp is left alone */
static u8 wanted_vec[32 * 64];
void raise_ud2(const u64 *regs, const u8 *vec, u64 level);
extern const char raise_ud2_here[];
__asm__(".text\n"
        ".globl raise_ud2, raise_ud2_here\n"
        "raise_ud2:\n"
        "  cmp $1, %rdx\n"
        "  jb 1f\n"
        "  je 2f\n"
        "  vmovups 17*64(%rsi), %zmm17\n"
        "  vmovups 31*64(%rsi), %zmm31\n"
        "  vmovups 5*64(%rsi), %zmm5\n"
        "  mov $0x5a5a, %eax\n"
        "  kmovw %eax, %k3\n"
        "2:vmovups 3*64(%rsi), %ymm3\n"
        "  vmovups 15*64(%rsi), %ymm15\n"
        "1:movups (%rsi), %xmm0\n"
        "  movups 64(%rsi), %xmm1\n"
        "  fldpi\n"
        "  fld1\n"
        "  mov 0(%rdi), %rax\n"
        "  mov 8(%rdi), %rcx\n"
        "  mov 16(%rdi), %rdx\n"
        "  mov 24(%rdi), %rbx\n"
        "  mov 40(%rdi), %rbp\n"
        "  mov 48(%rdi), %rsi\n"
        "  mov 64(%rdi), %r8\n"
        "  mov 72(%rdi), %r9\n"
        "  mov 80(%rdi), %r10\n"
        "  mov 88(%rdi), %r11\n"
        "  mov 96(%rdi), %r12\n"
        "  mov 104(%rdi), %r13\n"
        "  mov 112(%rdi), %r14\n"
        "  mov 120(%rdi), %r15\n"
        "  mov 56(%rdi), %rdi\n"
        "raise_ud2_here:\n"
        "  ud2\n");

/* The kernel's struct, so that nothing of libc is between. */
typedef struct KernelAction {
    void *handler;
    u64 flags;
    void *restorer;
    u64 mask;
} KernelAction;

void test_restorer(void);
__asm__(".text\n"
        ".globl test_restorer\n"
        "test_restorer:\n"
        "  mov $15, %rax\n"
        "  syscall\n");

static void catcher(int sig, siginfo_t *info, void *uc)
{
    kernel_frame = (u64)info - offsetof(SigFrame, info);
    kernel_info = *info;
    memcpy(kernel_image, alt_mem, ALT_SIZE);
    siglongjmp(back, 1);
}

static void fault_handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    u64 fixup = safe_fixup((u64)uc->uc_mcontext.gregs[REG_RIP]);
    if (!fixup) {
        _exit(77);
    }
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fixup;
}

static const u64 kernel_act_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG;
static const u64 kernel_act_mask = 1ull << (SIGUSR2 - 1);

static u64 vector_level(void)
{
    if (__builtin_cpu_supports("avx512f") && (mt_xsave.mask & 0xe0) == 0xe0) {
        return 2;
    }
    return __builtin_cpu_supports("avx") && (mt_xsave.mask & 4) ? 1 : 0;
}

static int setup(void **state)
{
    cpu_init();
    assert_int_equal(cpu_thread_init(), 0);
    alt_mem = mmap(NULL, ALT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(alt_mem, MAP_FAILED);
    for (int i = 0; i < 16; i++) {
        wanted[i] = 0x0123456789abcdefull * (u64)(i + 3);
    }
    for (size_t i = 0; i < sizeof(wanted_vec); i++) {
        wanted_vec[i] = (u8)(i * 7 + 1);
    }
    return 0;
}

/* Has the kernel make a frame for the moment; afterwards kernel_image and kernel_frame are set. */
static void catch_kernel_frame(void)
{
    const stack_t ss = {.ss_sp = alt_mem, .ss_size = ALT_SIZE};
    const stack_t none = {.ss_flags = SS_DISABLE};
    const KernelAction k = {(void *)catcher, kernel_act_flags, (void *)test_restorer,
                            kernel_act_mask};
    /* cmocka has its own handler, set anew for each test. */
    struct sigaction sa = {.sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    assert_int_equal(syscall(SYS_sigaltstack, &ss, NULL), 0);
    assert_int_equal(syscall(SYS_rt_sigaction, SIGILL, &k, NULL, 8), 0);
    memset(alt_mem, FILL, ALT_SIZE);
    if (!sigsetjmp(back, 1)) {
        raise_ud2(wanted, wanted_vec, vector_level());
    }
    __asm__ volatile("fninit");
    syscall(SYS_sigaltstack, &none, NULL);
}

static const SigFrame *kernel_copy(void)
{
    return (const SigFrame *)(kernel_image + (kernel_frame - (u64)alt_mem));
}

/* Our CpuState for the moment of kernel_image. */
static void cpu_from_kernel_frame(CpuState *cpu)
{
    const SigContext *mc = &kernel_copy()->uc.mc;
    const u64 regs[16] = {mc->rax, mc->rcx, mc->rdx, mc->rbx, mc->rsp, mc->rbp, mc->rsi, mc->rdi,
                          mc->r8,  mc->r9,  mc->r10, mc->r11, mc->r12, mc->r13, mc->r14, mc->r15};
    memcpy(cpu->gpr, regs, sizeof(regs));
    cpu->rip = mc->rip;
    cpu->rflags = mc->rflags & ~0x10000ull;
    memcpy(cpu->xsave, kernel_image + (mc->fpstate - (u64)alt_mem), mt_xsave.size);
    u64 *bv = (u64 *)((u8 *)cpu->xsave + 512);
    *bv &= mt_xsave.mask;
    cpu->xstate_saved = 1;
}

static const GuestAltStack *test_alt(void)
{
    static GuestAltStack alt;
    alt = (GuestAltStack){.sp = (u64)alt_mem, .size = ALT_SIZE};
    return &alt;
}

static SigFrameArgs args_of_kernel_frame(const GuestSigaction *act)
{
    const SigFrame *k = kernel_copy();
    return (SigFrameArgs){
        .act = act,
        .info = &kernel_info,
        .oldmask = k->uc.sigmask,
        .trapno = k->uc.mc.trapno,
        .err = k->uc.mc.err,
        .cr2 = k->uc.mc.cr2,
        .is_fault = true,
    };
}

static const GuestSigaction test_act = {
    .handler = 0x123456,
    .flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG,
};

static GuestSigaction act_like_kernel(void)
{
    GuestSigaction act = test_act;
    act.restorer = (u64)test_restorer;
    return act;
}

/* Pushes our frame for the kernel's moment. */
static int push_ours(void)
{
    GuestSigaction act = act_like_kernel();
    SigFrameArgs args = args_of_kernel_frame(&act);
    u64 bad;
    return sigframe_push(&mt_cpu, test_alt(), &args, &bad);
}

/* ---- tests ---- */

static void test_same_bytes(void **state)
{
    catch_kernel_frame();
    const SigFrame *k = kernel_copy();
    u64 fp = k->uc.mc.fpstate;
    assert_int_equal(k->uc.mc.rip, (u64)raise_ud2_here);
    assert_int_equal(k->uc.mc.r15, wanted[15]);
    cpu_from_kernel_frame(&mt_cpu);
    memset(alt_mem, FILL, ALT_SIZE);
    assert_int_equal(push_ours(), 0);
    assert_int_equal(mt_cpu.gpr[MT_RSP], kernel_frame);
    for (u64 a = kernel_frame; a < (u64)alt_mem + ALT_SIZE; a++) {
        if (a >= fp + LEGACY_STALE_FROM && a < fp + LEGACY_STALE_TO) {
            continue;
        }
        u8 ours = *(u8 *)a, theirs = kernel_image[a - (u64)alt_mem];
        if (ours != theirs) {
            fail_msg("byte %ld of the frame (%ld of the XSAVE area): %02x, kernel %02x",
                     (long)(a - kernel_frame), (long)(a - fp), ours, theirs);
        }
    }
}

static void test_handler_state(void **state)
{
    catch_kernel_frame();
    cpu_from_kernel_frame(&mt_cpu);
    mt_cpu.rflags |= 0x400; /* DF */
    assert_int_equal(push_ours(), 0);
    assert_int_equal(mt_cpu.gpr[MT_RSP] & 15, 8);
    assert_int_equal(mt_cpu.rip, test_act.handler);
    assert_int_equal(mt_cpu.gpr[MT_RDI], SIGILL);
    assert_int_equal(mt_cpu.gpr[MT_RSI], kernel_frame + offsetof(SigFrame, info));
    assert_int_equal(mt_cpu.gpr[MT_RDX], kernel_frame + offsetof(SigFrame, uc));
    assert_int_equal(mt_cpu.gpr[MT_RAX], 0);
    assert_int_equal(mt_cpu.rflags & 0x10500, 0);
    assert_int_equal(*(u64 *)((u8 *)mt_cpu.xsave + 512), 0);
    assert_int_equal(*(u32 *)((u8 *)mt_cpu.xsave + 24), 0x1f80);
}

/* Our reading of the kernel's frame gives the moment back. */
static void test_pop_kernel_frame(void **state)
{
    SigMask mask;
    bool valid;
    GuestAltStack alt;
    i32 bad_selector;
    catch_kernel_frame();
    memcpy(alt_mem, kernel_image, ALT_SIZE);
    memset(mt_cpu.gpr, 0, sizeof(mt_cpu.gpr));
    mt_cpu.gpr[MT_RSP] = kernel_frame + 8;
    assert_int_equal(sigframe_pop(&mt_cpu, &mask, &valid, &alt, &bad_selector), 0);
    assert_true(valid);
    assert_int_equal(bad_selector, -1);
    for (int i = 0; i < 16; i++) {
        if (i != MT_RSP) {
            assert_int_equal(mt_cpu.gpr[i], wanted[i]);
        }
    }
    assert_int_equal(mt_cpu.rip, (u64)raise_ud2_here);
    assert_int_equal(alt.sp, (u64)alt_mem);
    assert_int_equal(alt.size, ALT_SIZE);
    assert_memory_equal((u8 *)mt_cpu.xsave + 160, wanted_vec, 16);
    /* Twice through both directions: still the same. */
    u8 *before = malloc(mt_xsave.size);
    memcpy(before, mt_cpu.xsave, mt_xsave.size);
    assert_int_equal(push_ours(), 0);
    mt_cpu.gpr[MT_RSP] += 8;
    assert_int_equal(sigframe_pop(&mt_cpu, &mask, &valid, &alt, &bad_selector), 0);
    memset(before + LEGACY_STALE_FROM, 0, 512 - LEGACY_STALE_FROM);
    memset((u8 *)mt_cpu.xsave + LEGACY_STALE_FROM, 0, 512 - LEGACY_STALE_FROM);
    for (u32 i = 0; i < 576; i++) {
        assert_int_equal(((u8 *)mt_cpu.xsave)[i], before[i]);
    }
    free(before);
}

/* ---- the kernel's opinion of a frame ---- */

static volatile u64 landed_regs[16];
static volatile u8 landed_xmm[16];
static u64 landing_sp;
void do_sigreturn(u64 rsp, u64 *save_sp);
void landing(void);
__asm__(".text\n"
        ".globl do_sigreturn, landing\n"
        "do_sigreturn:\n" /* saves what the ABI wants, then returns through the frame */
        "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rsi)\n"
        "  mov %rdi, %rsp\n"
        "  mov $15, %eax\n"
        "  syscall\n"
        "  ud2\n"
        "landing:\n"
        "  mov %rax, landed_regs(%rip)\n"
        "  mov %rcx, landed_regs+8(%rip)\n"
        "  mov %rbx, landed_regs+24(%rip)\n"
        "  mov %rdi, landed_regs+56(%rip)\n"
        "  mov %r11, landed_regs+88(%rip)\n"
        "  mov %r15, landed_regs+120(%rip)\n"
        "  movups %xmm0, landed_xmm(%rip)\n"
        "  mov landing_sp(%rip), %rsp\n"
        "  fninit\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
        "  cld\n"
        "  ret\n");

static void test_kernel_returns_through_ours(void **state)
{
    catch_kernel_frame();
    cpu_from_kernel_frame(&mt_cpu);
    mt_cpu.rip = (u64)landing;
    mt_cpu.rflags &= ~(u64)EFLAGS_STATUS;
    memset(alt_mem, FILL, ALT_SIZE);
    assert_int_equal(push_ours(), 0);
    do_sigreturn(mt_cpu.gpr[MT_RSP] + 8, &landing_sp);
    const int seen[] = {MT_RAX, MT_RCX, MT_RBX, MT_RDI, MT_R11, MT_R15};
    for (size_t i = 0; i < MT_ARRAY_SIZE(seen); i++) {
        assert_int_equal(landed_regs[seen[i]], wanted[seen[i]]);
    }
    assert_memory_equal((const u8 *)landed_xmm, wanted_vec, 16);
}

/* One kind of damage to a good frame. */
typedef struct Damage {
    const char *name;
    u32 xsave_off; /* of the bytes to overwrite, in the XSAVE area; ~0: fpstate itself */
    u64 value;
    u32 bytes;
} Damage;

#define OFF_FPSTATE (~0u)
#define OFF_MAGIC2 (~1u)

static const Damage damages[] = {
    {"none", 0, 0, 0},
    {"fpstate NULL", OFF_FPSTATE, 0, 8},
    {"fpstate unmapped", OFF_FPSTATE, 0x1000, 8},
    {"fpstate not canonical", OFF_FPSTATE, 0x8000000000000000ull, 8},
    {"mxcsr reserved bit", 24, 0xffff1f80, 4},
    {"magic1", 464, 0, 4},
    {"xstate_size too small", 464 + 16, 100, 4},
    {"xstate_size too big", 464 + 16, 0x100000, 4},
    {"magic2", OFF_MAGIC2, 0, 4},
    {"no features asked for", 464 + 8, 0, 8},
    {"xstate_bv empty", 512, 0, 8},
    {"xstate_bv unknown bit", 512, 1ull << 40, 8},
    {"xstate_bv bit 63", 512, 1ull << 63, 8},
    {"xcomp_bv", 520, 3, 8},
    {"header byte 16", 528, 1, 8},
    {"header byte 24", 536, 1, 8},
    {"fcw odd", 0, 0xffff, 2},
};

static void make_damaged(const Damage *d)
{
    cpu_from_kernel_frame(&mt_cpu);
    mt_cpu.rip = (u64)landing;
    memset(alt_mem, FILL, ALT_SIZE);
    assert_int_equal(push_ours(), 0);
    SigFrame *f = (SigFrame *)mt_cpu.gpr[MT_RSP];
    u8 *x = (u8 *)f->uc.mc.fpstate;
    void *at = x + d->xsave_off;
    if (d->xsave_off == OFF_FPSTATE) {
        at = &f->uc.mc.fpstate;
    } else if (d->xsave_off == OFF_MAGIC2) {
        at = x + sigframe_xstate_size();
    }
    memcpy(at, &d->value, d->bytes);
}

static bool kernel_takes_it(u64 rsp)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL);
        do_sigreturn(rsp, &landing_sp);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) || WTERMSIG(status) == SIGSEGV);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void load_area(void)
{
    cpu_xstate_restore();
    cpu_xstate_save();
}

static void test_damaged_frames(void **state)
{
    catch_kernel_frame();
    for (size_t i = 0; i < MT_ARRAY_SIZE(damages); i++) {
        SigMask mask;
        bool valid;
        GuestAltStack alt;
        i32 bad_selector;
        make_damaged(&damages[i]);
        u64 rsp = mt_cpu.gpr[MT_RSP] + 8;
        bool kernel_ok = kernel_takes_it(rsp);
        mt_cpu.gpr[MT_RSP] = rsp;
        bool ours_ok = sigframe_pop(&mt_cpu, &mask, &valid, &alt, &bad_selector) == 0;
        if (ours_ok != kernel_ok) {
            fail_msg("%s: %s, kernel %s", damages[i].name, ours_ok ? "accepted" : "refused",
                     kernel_ok ? "accepts" : "refuses");
        }
        load_area(); /* F2: must not fault */
    }
}

/* ---- placement ---- */

static void push_at(u64 rsp, const GuestAltStack *alt, u64 flags, int expected)
{
    GuestSigaction act = act_like_kernel();
    SigFrameArgs args = args_of_kernel_frame(&act);
    u64 bad;
    act.flags = flags;
    cpu_from_kernel_frame(&mt_cpu);
    mt_cpu.gpr[MT_RSP] = rsp;
    assert_int_equal(sigframe_push(&mt_cpu, alt, &args, &bad), expected);
}

static void test_placement(void **state)
{
    const u64 flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG;
    u8 *main_stack = malloc(ALT_SIZE);
    u64 top = (u64)main_stack + ALT_SIZE - 5;
    catch_kernel_frame();
    u64 need = sigframe_xstate_size() + 4 + sizeof(SigFrame);

    /* Without SA_ONSTACK: below the red zone. */
    push_at(top, test_alt(), flags & ~(u64)SA_ONSTACK, 0);
    assert_true(mt_cpu.gpr[MT_RSP] + need <= top - 128);
    assert_true(mt_cpu.gpr[MT_RSP] + need + 64 + 16 + 8 >= top - 128);
    /* Already on it: goes on there. */
    push_at((u64)alt_mem + 30000, test_alt(), flags, 0);
    assert_in_range(mt_cpu.gpr[MT_RSP], (u64)alt_mem, (u64)alt_mem + 30000 - 128);
    /* SS_AUTODISARM: from the top again. */
    GuestAltStack alt = *test_alt();
    alt.flags = 1u << 31;
    push_at((u64)alt_mem + 30000, &alt, flags, 0);
    assert_in_range(mt_cpu.gpr[MT_RSP], (u64)alt_mem + 60000, (u64)alt_mem + ALT_SIZE);
    /* Overflow, from outside and nested. */
    alt = (GuestAltStack){.sp = (u64)alt_mem + 4096, .size = 512};
    push_at(top, &alt, flags, -EFAULT);
    alt.size = 30000;
    push_at((u64)alt_mem + 4096 + 600, &alt, flags, -EFAULT);
    /* No restorer; not writable. */
    push_at(top, test_alt(), SA_SIGINFO, -EFAULT);
    push_at(0x2000, test_alt(), SA_SIGINFO | SA_RESTORER_FLAG, -EFAULT);
    assert_int_equal(mt_cpu.gpr[MT_RSP], 0x2000);
    assert_int_equal(mt_cpu.gpr[MT_R15], wanted[15]);
    free(main_stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),       cmocka_unit_test(test_handler_state),
        cmocka_unit_test(test_pop_kernel_frame), cmocka_unit_test(test_kernel_returns_through_ours),
        cmocka_unit_test(test_damaged_frames),   cmocka_unit_test(test_placement),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

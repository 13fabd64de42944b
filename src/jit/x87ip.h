/* SPDX-License-Identifier: BSD-2-Clause
 * x87ip.h -- the processor's note of where the last x87 instruction was. */
#ifndef MT_X87IP_H
#define MT_X87IP_H

/* The state saved in mt_cpu.xsave names the guest's instruction instead of its copy. Slow domain,
 * OUTSIDE; takes the pages' lock. */
void x87ip_to_guest(void);

#endif

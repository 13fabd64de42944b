/* SPDX-License-Identifier: BSD-2-Clause
 * main.c -- mtvg-symbols: names and lines for code addresses, for mtvg (src/diag/symbols.c).
 * Standard input, up to its end: a line for each address,
 *     address  bias  device  inode  path        (numbers in hexadecimal)
 * of code in the file `path`, loaded `bias` above the addresses in it. Standard output, for each of
 * them:
 *     function TAB file:line                    either may be empty
 * a line for each inlined function, the innermost first, one for the function that they are inlined
 * into, and an empty line. What has been found is written at once: if a file's debug information
 * brings this program down, what it has said by then stands. */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <libiberty/demangle.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 4000

static char *debug_path = NULL; /* the default one */

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &debug_path,
};

/* "file:line" of a place; empty if it is not known. */
static void put_line(const char *name, const char *file, int line)
{
    char *plain = name != NULL ? cplus_demangle(name, DMGL_AUTO | DMGL_PARAMS | DMGL_ANSI) : NULL;
    const char *slash = file != NULL ? strrchr(file, '/') : NULL;

    printf("%.*s\t", NAME_MAX_BYTES, plain != NULL ? plain : name != NULL ? name : "");
    if (file != NULL) {
        printf("%s:%d", slash != NULL ? slash + 1 : file, line);
    }
    putchar('\n');
    free(plain);
}

/* The compilation unit at an address; clang makes no .debug_aranges, so all may have to be looked
 * at. */
static Dwarf_Die *find_unit(Dwfl_Module *mod, Dwarf_Addr at, Dwarf_Addr *bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(mod, at, bias);

    if (unit != NULL) {
        return unit;
    }
    while ((unit = dwfl_module_nextcu(mod, unit, bias)) != NULL) {
        if (dwarf_haspc(unit, at - *bias) > 0) {
            return unit;
        }
    }
    return NULL;
}

static const char *die_name(Dwarf_Die *die)
{
    Dwarf_Attribute attr;

    if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attr) != NULL ||
        dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attr) != NULL ||
        dwarf_attr_integrate(die, DW_AT_name, &attr) != NULL) {
        return dwarf_formstring(&attr);
    }
    return NULL;
}

static int number(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attr;
    Dwarf_Word v;

    return dwarf_formudata(dwarf_attr(die, name, &attr), &v) == 0 ? (int)v : 0;
}

static const char *file_of(Dwarf_Die *unit, int index)
{
    Dwarf_Files *files;
    size_t n;

    return index > 0 && dwarf_getsrcfiles(unit, &files, &n) == 0 && (size_t)index < n
               ? dwarf_filesrc(files, (size_t)index, NULL, NULL)
               : NULL;
}

/* The functions around an address, each at the place in it that leads to the next one. *file,
 * *line: that of the address, then that of the call of what was inlined into the function which is
 * left. Its name if debug information has one. */
static const char *put_inlined(Dwarf_Die *unit, Dwarf_Addr at, const char **file, int *line)
{
    Dwarf_Die *inner = NULL, *scopes = NULL;
    const char *outer = NULL;
    int n = dwarf_getscopes(unit, at, &inner);

    /* Scopes of an inlined function are those of its source; those of its code are asked for. */
    n = n > 0 ? dwarf_getscopes_die(&inner[0], &scopes) : 0;
    for (int i = 0; i < n && outer == NULL; i++) {
        switch (dwarf_tag(&scopes[i])) {
        case DW_TAG_inlined_subroutine:
            put_line(die_name(&scopes[i]), *file, *line);
            *file = file_of(unit, number(&scopes[i], DW_AT_call_file));
            *line = number(&scopes[i], DW_AT_call_line);
            break;
        case DW_TAG_subprogram: outer = die_name(&scopes[i]); break;
        default: break;
        }
    }
    free(scopes);
    free(inner);
    return outer;
}

/* Of the symbol table: the function that contains the address. */
static const char *symbol_at(Dwfl_Module *mod, GElf_Addr at)
{
    GElf_Off offset;
    GElf_Sym sym;
    const char *name = dwfl_module_addrinfo(mod, at, &offset, &sym, NULL, NULL, NULL);

    return name != NULL && name[0] != 0 && (sym.st_size == 0 || offset < sym.st_size) ? name : NULL;
}

static void answer(Dwfl_Module *mod, Dwarf_Addr at)
{
    Dwarf_Addr bias = 0;
    Dwarf_Die *unit = find_unit(mod, at, &bias);
    const char *file = NULL, *name = NULL, *symbol = symbol_at(mod, at);
    int line = 0;

    if (unit != NULL) {
        Dwarf_Line *row = dwarf_getsrc_die(unit, at - bias);

        file = row != NULL ? dwarf_linesrc(row, NULL, NULL) : NULL;
        if (file != NULL) {
            dwarf_lineno(row, &line);
        }
        name = put_inlined(unit, at - bias, &file, &line);
    }
    put_line(symbol != NULL ? symbol : name, file, line);
}

/* The file of a line of input, if it is still the one that is loaded. */
static Dwfl_Module *find_module(Dwfl *dwfl, const char *path, Dwarf_Addr at, Dwarf_Addr bias,
                                dev_t dev, ino_t ino)
{
    Dwfl_Module *mod = dwfl_addrmodule(dwfl, at);
    struct stat st;

    if (mod == NULL && path[0] == '/' && stat(path, &st) == 0 && st.st_dev == dev &&
        st.st_ino == ino) {
        dwfl_report_begin_add(dwfl);
        dwfl_report_elf(dwfl, path, path, -1, bias, true);
        dwfl_report_end(dwfl, NULL, NULL);
        mod = dwfl_addrmodule(dwfl, at);
    }
    return mod;
}

int main(void)
{
    static char text[4u << 20];
    size_t len = fread(text, 1, sizeof(text) - 1, stdin);
    Dwfl *dwfl = dwfl_begin(&callbacks);
    char *line, *save;

    if (dwfl == NULL || len == 0) {
        return 1;
    }
    for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        unsigned long long at, bias, dev, ino;
        int path = 0;

        if (sscanf(line, "%llx %llx %llx %llx %n", &at, &bias, &dev, &ino, &path) >= 4) {
            Dwfl_Module *mod = find_module(dwfl, line + path, at, bias, dev, ino);

            if (mod != NULL) {
                answer(mod, at);
            }
        }
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}

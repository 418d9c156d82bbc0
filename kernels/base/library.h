/*
 * Shared libraries that few commands need are loaded when they are first used: what a program is
 * linked with, and what that is linked with in turn, is loaded and relocated at each start.
 */
#pragma once

#include <stddef.h>

#include "kernels/base/status.h"

/* A function or object of the library and the place in the caller's struct for its address. */
struct library_symbol {
    const char *name;
    size_t offset; /* of a pointer in the struct given to library_load */
};

/* Loads a library and fills `table` (a struct of pointers) with the addresses of `count` symbols.
 *
 * `soname` is searched by the loader's rules, then `path` (NULL: none) is tried. The library stays
 * loaded until the process ends; loading it again is cheap. `package` is what a message tells to
 * install. Fails with DEVICE when there is no such library or it lacks a symbol. */
MUST_USE enum status library_load(const char *soname, const char *path, const char *package,
                                  const struct library_symbol *symbols, size_t count, void *table);

/* Libraries by dlopen; see library.h. */
#include "kernels/base/library.h"

#include <dlfcn.h>
#include <string.h>

enum status library_load(const char *soname, const char *path, const char *package,
                         const struct library_symbol *symbols, size_t count, void *table)
{
    /* Global, because plug-ins of Open MPI look its symbols up there. */
    void *handle = dlopen(soname, RTLD_LAZY | RTLD_GLOBAL);
    if (!handle && path) {
        handle = dlopen(path, RTLD_LAZY | RTLD_GLOBAL);
    }
    if (!handle) {
        return FAIL(DEVICE, "cannot load %s (%s); install %s", soname, dlerror(), package);
    }
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(handle, symbols[i].name);
        if (!address) {
            return FAIL(DEVICE, "%s has no %s; install the %s that graft was built with", soname,
                        symbols[i].name, package);
        }
        memcpy((char *)table + symbols[i].offset, &address, sizeof address);
    }
    return STATUS_OK;
}

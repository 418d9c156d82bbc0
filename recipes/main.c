/* The graft program: everything is behind cli_run. */
#include "recipes/cli.h"

int main(int argc, char **argv)
{
    return cli_run(argc, argv, GRAFT_SOURCE_DIR);
}

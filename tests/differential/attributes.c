// attributes set FILE NAME VALUE | attributes list FILE...: extended attributes as the kernel has them, without any filter.
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static int list(const char *file) {
    char names[4096], value[4096];
    ssize_t length = llistxattr(file, names, sizeof names);
    if (length < 0) return 1;
    for (char *name = names; name < names + length; name += strlen(name) + 1) {
        ssize_t size = lgetxattr(file, name, value, sizeof value);
        printf("%s %s=%.*s\n", file, name, size < 0 ? 0 : (int)size, value);
    }
    return 0;
}

int main(int count, char **words) {
    if (count == 5 && strcmp(words[1], "set") == 0) {
        if (lsetxattr(words[2], words[3], words[4], strlen(words[4]), 0) == 0) return 0;
        perror(words[3]);
        return 1;
    }
    if (count < 3 || strcmp(words[1], "list") != 0) return 2;
    for (int file = 2; file < count; file++)
        if (list(words[file]) != 0) perror(words[file]);
    return 0;
}

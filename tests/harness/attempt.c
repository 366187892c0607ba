/* Makes one system call and says what came of it, an error number or a result: `attempt [i386] NUMBER ARGUMENT...`.
   An argument is a number, or text behind an `@`. `i386` goes by the door of 32-bit programs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long words[7] = {0}, result;
	int old_door = argc > 1 && strcmp(argv[1], "i386") == 0;
	for (int i = 1 + old_door, word = 0; i < argc && word < 7; i++, word++)
		words[word] = argv[i][0] == '@' ? (long)(argv[i] + 1) : strtol(argv[i], NULL, 0);
	if (old_door) {
#ifdef __x86_64__
		__asm__ volatile("int $0x80"
				 : "=a"(result)
				 : "a"(words[0]), "b"(words[1]), "c"(words[2]), "d"(words[3])
				 : "memory", "r8", "r9", "r10", "r11");
		errno = -result;
#else
		return 77;
#endif
	} else {
		result = syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
	}
	if (result < 0)
		printf("error %d\n", errno);
	else
		printf("result %ld\n", result);
	return 0;
}

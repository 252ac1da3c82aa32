# The PVH door: from 32 bits without paging to Rust in the higher half.
#
# As the loader leaves it:   ebx = physical address of the start info; cs, ds, es, ss flat 32-bit segments;
#                            protected mode, no paging, interrupts off; no stack.
# As Rust gets it:           rdi = start info, rsi = time-stamp counter at entry; long mode, SSE on, NX and WP on;
#                            boot stack; the tables below.
#
#   boot_pml4 ─┬─ 0   ─► boot_pdpt_low  ─► the low 4 GiB, to themselves     1 GiB pages, or boot_pds: 2 MiB pages
#              └─ 511 ─► boot_pdpt_high ─► 510: the first of these GiB      KERNEL_BASE
#
# All of this is linked where it is loaded (`.boot.*` in the linker script) and lies outside the kernel's own tables. Loaders
# clear what an ELF segment does not fill, so the tables start out empty.

    # How a loader finds the entry: type 18, PHYS32_ENTRY. Eight bytes, of which some loaders read only four.
    .section .note.trefoil, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad trefoil_pvh_entry
    # How the runner tells an image from a host program: type 1, version 1 of whatever the two agree on.
    .balign 4
    .long 8, 4, 1
    .asciz "Trefoil"
    .long 1

    # Linux finds no interpreter of this name, so it refuses an image that is started on the host.
    .section .trefoil.hint, "a", @progbits
    .asciz "/this boots in QEMU: cargo trefoil run FILE"

    .section .boot.text, "ax", @progbits
    .code32
    .globl trefoil_pvh_entry
    .type trefoil_pvh_entry, @function
trefoil_pvh_entry:
    cli
    cld
    movl %ebx, %edi                     # cpuid takes ebx
    rdtsc
    movl %eax, boot_tsc
    movl %edx, boot_tsc + 4

    # A CPU with long mode has PAE, SSE2 and fxsave too.
    movl $boot_no_long_mode, %esi
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb boot_fatal
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc boot_fatal
    movl $boot_no_nx, %esi
    btl $20, %edx
    jnc boot_fatal

    # Every entry is present (1) and writable (2), those of large pages are large (0x80) too.
    movl $boot_pdpt_low + 3, boot_pml4
    movl $boot_pdpt_high + 3, boot_pml4 + 511 * 8
    btl $26, %edx                       # 1 GiB pages?
    jnc 2f
    movl $0x83, boot_pdpt_low
    movl $0x40000083, boot_pdpt_low + 8
    movl $0x80000083, boot_pdpt_low + 16
    movl $0xc0000083, boot_pdpt_low + 24
    movl $0x83, boot_pdpt_high + 510 * 8
    jmp 4f
2:  movl $boot_pds + 0x0003, boot_pdpt_low
    movl $boot_pds + 0x1003, boot_pdpt_low + 8
    movl $boot_pds + 0x2003, boot_pdpt_low + 16
    movl $boot_pds + 0x3003, boot_pdpt_low + 24
    movl $boot_pds + 0x0003, boot_pdpt_high + 510 * 8
    movl $0x83, %eax
    xorl %ecx, %ecx
3:  movl %eax, boot_pds(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $4 * 512, %ecx
    jne 3b

4:  movl %cr4, %eax
    orl ${cr4}, %eax
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl ${efer}, %eax
    wrmsr
    movl %cr0, %eax
    andl ${cr0_keep}, %eax
    orl ${cr0}, %eax
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $boot_64

    # esi = a message. The serial port is asked before each byte, but not for ever.
boot_fatal:
    movb (%esi), %bl
    incl %esi
    testb %bl, %bl
    jz 7f
    movl $100000, %ecx
    movw $0x3fd, %dx
5:  inb %dx, %al
    testb $0x20, %al
    jnz 6f
    decl %ecx
    jnz 5b
6:  movb %bl, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp boot_fatal
7:  movw $0xf4, %dx                     # isa-debug-exit: QEMU ends with status 35
    movl $0x11, %eax
    outl %eax, %dx
8:  hlt
    jmp 8b

    .code64
boot_64:
    xorl %eax, %eax                     # long mode ignores these, but not what is in them
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl %edi, %edi                     # the upper half is undefined after the change of mode
    movq boot_tsc, %rsi
    movabsq $__boot_stack_top, %rsp
    xorl %ebp, %ebp                     # no frame above this one,
    pushq $0                            # and no code to return to
    movabsq $trefoil_boot_rust, %rax
    jmpq *%rax
    .size trefoil_pvh_entry, . - trefoil_pvh_entry

    .balign 8
boot_gdt:
    .quad 0, {code}
boot_gdt_pointer:
    .word boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt
boot_no_long_mode:
    .asciz "\ntrefoil: fatal: this CPU has no 64-bit mode (CPUID 8000_0001h, EDX bit 29)\ntrefoil: end of report\n"
boot_no_nx:
    .asciz "\ntrefoil: fatal: this CPU can't forbid execution (NX: CPUID 8000_0001h, EDX bit 20)\ntrefoil: end of report\n"

    // The linker script puts it at a page's start. (An alignment here would be one of the segment's place in the file, too: a gap.)
    .section .boot.bss, "aw", @nobits
boot_pml4:
    .skip 4096
boot_pdpt_low:
    .skip 4096
boot_pdpt_high:
    .skip 4096
boot_pds:
    .skip 4 * 4096
boot_tsc:
    .skip 8

    .text

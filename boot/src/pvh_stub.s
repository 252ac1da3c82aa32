    .section .note.trefoil, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad trefoil_pvh_entry
    .balign 4
    .long 8, 4, 1
    .asciz "Trefoil"
    .long 1

    .section .boot.text, "awx", @progbits
    .code32
    .globl trefoil_pvh_entry
    .type trefoil_pvh_entry, @function
trefoil_pvh_entry:
    cli
    cld
    movl $boot_stack_top, %esp
    movl %ebx, %edi
    rdtsc
    movl %eax, boot_tsc
    movl %edx, boot_tsc+4
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb boot_no_long
    movl $0x80000001, %eax
    cpuid
    testl $0x20000000, %edx
    jz boot_no_long
    testl $0x00100000, %edx
    jz boot_no_long
    // tables
    movl $boot_pdpt_low+3, boot_pml4
    movl $boot_pdpt_high+3, boot_pml4+511*8
    testl $0x04000000, %edx
    jz 2f
    movl $0x83, %eax
    movl $4, %ecx
    movl $boot_pdpt_low, %ebp
1:  movl %eax, (%ebp)
    addl $0x40000000, %eax
    addl $8, %ebp
    loop 1b
    movl $0x83, boot_pdpt_high+510*8
    jmp 4f
2:  movl $0x83, %eax
    movl $2048, %ecx
    movl $boot_pds, %ebp
3:  movl %eax, (%ebp)
    addl $0x200000, %eax
    addl $8, %ebp
    loop 3b
    movl $boot_pds+3, boot_pdpt_low
    movl $boot_pds+0x1003, boot_pdpt_low+8
    movl $boot_pds+0x2003, boot_pdpt_low+16
    movl $boot_pds+0x3003, boot_pdpt_low+24
    movl $boot_pds+3, boot_pdpt_high+510*8
4:  movl %cr4, %eax
    orl $0x620, %eax            // PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax            // LME, NXE
    wrmsr
    movl %cr0, %eax
    andl $0xfffffffb, %eax
    orl $0x80010022, %eax       // PG, WP, NE, MP
    movl %eax, %cr0
    lgdt boot_gdt_ptr
    ljmp $8, $boot64
boot_no_long:
    movl $boot_msg, %esi
5:  movb (%esi), %al
    testb %al, %al
    jz 6f
    movw $0x3f8, %dx
    outb %al, %dx
    incl %esi
    jmp 5b
6:  movw $0xf4, %dx
    movl $0x11, %eax
    outl %eax, %dx
7:  hlt
    jmp 7b
    .code64
boot64:
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl %edi, %edi
    movq boot_tsc, %rsi
    movabsq $__boot_stack_top, %rsp
    xorl %ebp, %ebp
    movabsq $trefoil_boot_rust, %rax
    pushq $0
    jmpq *%rax
    .size trefoil_pvh_entry, . - trefoil_pvh_entry
    .section .boot.data, "aw", @progbits
boot_msg: .asciz "trefoil: fatal: this processor has no long mode or no NX\r\n"
    .balign 8
boot_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_ptr: .word 23
    .long boot_gdt
boot_tsc: .quad 0
    .section .boot.bss, "aw", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pds: .skip 16384
    .skip 4096
boot_stack_top:

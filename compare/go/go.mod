module programs

go 1.27

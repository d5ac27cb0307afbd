"""What to run where and at what price: memory, speed, cost and plans from first principles, every number explained."""

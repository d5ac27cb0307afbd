"""Claims about models, hardware and money, each derived again from first principles and judged."""

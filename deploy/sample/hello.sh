echo "Hello from Forge, built for $(cat /app/built-for.txt)"

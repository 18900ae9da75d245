with

stories as (
    select * from {{ ref('news_stories') }}
),

final as (
    select
        normalised_url,
        source_site,
        category,
        title,
        uncounted_reason as reason,
        article_count,
        published_at,
        first_seen_at,
    from stories
    where uncounted_reason is not null
)

select * from final
